package state_test

import (
	"testing"

	"henge/cluster/state"
	"henge/cluster/state/statetest"
)

func TestMemory(t *testing.T) {
	statetest.Run(t, func(*testing.T) state.Store { return state.NewMemory() })
}
