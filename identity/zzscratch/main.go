package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"henge/cluster/state"
	"henge/identity"
	"henge/internal/clock"
)

func main() {
	st := state.NewMemory()
	id, err := identity.New(identity.Config{Store: st, Clock: clock.System{}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		panic(err)
	}
	b, err := identity.Bootstrap(context.Background(), st, identity.BootstrapConfig{AdminPassword: "secretsecret", Services: identity.ObjectStoreServices("http://127.0.0.1:15000", "http://127.0.0.1:8080")})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%+v\n", b)
	go id.Run(context.Background())
	h := id.Handler()
	panic(http.ListenAndServe("127.0.0.1:15000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(os.Stderr, r.Method, r.URL)
		h.ServeHTTP(w, r)
	})))
}
