package api

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"henge/internal/openstack"
)

// routes binds everything.
func (s *Server) routes() {
	r := s.router
	r.UseEncodedPath() // a tag may have a slash in it
	r.NotFoundHandler = s.open(noRoute)
	r.MethodNotAllowedHandler = r.NotFoundHandler
	r.Handle("/", s.open(choices)).Methods(http.MethodGet, http.MethodHead)
	for _, path := range []string{"/versions", "/versions/"} {
		r.Handle(path, s.open(versions)).Methods(http.MethodGet, http.MethodHead)
	}
	for _, path := range []string{"/v2", "/v2/"} {
		r.Handle(path, s.open(choices)).Methods(http.MethodGet, http.MethodHead)
	}
	r.HandleFunc("/healthcheck", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("OK"))
	}).Methods(http.MethodGet, http.MethodHead)
	bind := func(method, path string, h handler) { r.Handle("/v2"+path, s.authed(h)).Methods(method) }
	s.imageRoutes(bind)
	s.infoRoutes(bind)
	s.metadefRoutes(bind)
}

type binder func(method, path string, h handler)

func (s *Server) imageRoutes(bind binder) {
	bind(http.MethodGet, "/images", listImages)
	bind(http.MethodPost, "/images", createImage)
	bind(http.MethodGet, "/images/{image}", showImage)
	bind(http.MethodPatch, "/images/{image}", patchImage)
	bind(http.MethodDelete, "/images/{image}", deleteImage)
	bind(http.MethodPut, "/images/{image}/file", uploadFile)
	bind(http.MethodGet, "/images/{image}/file", downloadFile)
	bind(http.MethodPut, "/images/{image}/stage", stageFile)
	bind(http.MethodPost, "/images/{image}/import", importImage)
	bind(http.MethodGet, "/images/{image}/tasks", imageTasks)
	bind(http.MethodPost, "/images/{image}/actions/deactivate", deactivateImage)
	bind(http.MethodPost, "/images/{image}/actions/reactivate", reactivateImage)
	bind(http.MethodPut, "/images/{image}/tags/{tag}", addTag)
	bind(http.MethodDelete, "/images/{image}/tags/{tag}", deleteTag)
	bind(http.MethodGet, "/images/{image}/members", listMembers)
	bind(http.MethodPost, "/images/{image}/members", createMember)
	bind(http.MethodGet, "/images/{image}/members/{member}", showMember)
	bind(http.MethodPut, "/images/{image}/members/{member}", updateMember)
	bind(http.MethodDelete, "/images/{image}/members/{member}", deleteMember)
}

func (s *Server) infoRoutes(bind binder) {
	bind(http.MethodGet, "/info/import", importInfo)
	bind(http.MethodGet, "/info/usage", usageInfo)
	bind(http.MethodGet, "/info/stores", storesInfo)
	bind(http.MethodGet, "/schemas/{name}", showSchema)
	bind(http.MethodGet, "/schemas/metadefs/{name}", showMetadefSchema)
}

// noRoute tells an unknown address from a known one with another method.
func noRoute(c *call) error {
	allowed := openstack.Methods(c.r, func(r *http.Request) bool {
		var found mux.RouteMatch
		return c.router.Match(r, &found) && found.MatchErr == nil && found.Route != nil
	})
	if len(allowed) == 0 {
		c.faultStatus(http.StatusNotFound, "The resource could not be found.")
		return nil
	}
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	c.faultStatus(http.StatusMethodNotAllowed, "The method "+c.r.Method+" is not allowed for this resource.")
	return nil
}
