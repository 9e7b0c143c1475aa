package metadata

import (
	"io"
	"net/http"
	"slices"

	"henge/cluster/state"
	"henge/computed/model"
	"henge/internal/errs"
)

// A guest may leave a password, encrypted with its owner's key, for `GET /servers/{id}/os-server-password`: once, until the owner clears it.
const (
	passwordFile     = "password"
	passwordBytesMax = 4 * 255
)

func isPassword(parts []string) bool {
	return len(parts) == 3 && parts[0] == "openstack" && slices.Contains(openstackDates, parts[1]) && parts[2] == passwordFile
}

func (s *Service) takePassword(w http.ResponseWriter, r *http.Request, g guest) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, passwordBytesMax+1))
	switch {
	case err != nil || len(raw) == 0:
		http.Error(w, "The request has no body that can be read.", http.StatusBadRequest)
		return
	case len(raw) > passwordBytesMax:
		http.Error(w, "Request is too large.", http.StatusBadRequest)
		return
	}
	err = s.Store.Update(r.Context(), func(w state.Writer) error {
		server, err := model.Servers.Get(w, g.ID)
		if err != nil {
			return err
		}
		if server.GuestPassword != "" {
			return errs.New(errs.Conflict, "There is a password already.")
		}
		server.GuestPassword = string(raw)
		return model.Servers.Put(w, server.ID, server)
	})
	switch {
	case errs.Is(err, errs.Conflict):
		http.Error(w, "There is a password already.", http.StatusConflict)
	case errs.Is(err, errs.NotFound):
		http.NotFound(w, r)
	case err != nil:
		s.Logger.ErrorContext(r.Context(), "take a guest's password", "server", g.ID, "error", err)
		http.Error(w, "the password cannot be kept now", http.StatusInternalServerError)
	}
}
