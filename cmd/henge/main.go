// Command henge is the whole cloud: `henge up` on one machine, `henge agent` on many.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is stamped by the Makefile.
var version = "unknown"

func main() {
	// The first signal asks for an orderly end; while that is under way a second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, errSilent) {
		fmt.Fprintln(os.Stderr, "henge: "+err.Error())
	}
	if err != nil {
		os.Exit(1)
	}
}

// errSilent ends the command with a status that is not 0, after it has said all there is to say.
var errSilent = errors.New("")

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "henge",
		Short:         "A private cloud in one binary",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("henge {{.Version}}\n")
	root.AddCommand(newUpCommand(), newAgentCommand(), newInitCommand(), newJoinCommand(), newTokenCommand(), newStatusCommand(), newReconCommand(), newDispersionCommand(), newRebuildCommand(), newConfigCommand(), newProfileCommand(),
		newRingCommand(openState))
	return root
}
