package api

import (
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"henge/internal/openstack"
)

// binder binds a method and a path below /v3 to a handler for callers with a token. GET brings HEAD along.
type binder func(method, path string, h handler)

// routes binds everything.
func (s *Server) routes() {
	r := s.router
	r.NotFoundHandler = s.open(noRoute)
	r.MethodNotAllowedHandler = r.NotFoundHandler
	r.Handle("/", s.open(versions)).Methods(http.MethodGet, http.MethodHead)
	r.Handle("/auth/v1.0", s.V1Auth())
	r.Handle("/auth/v1", s.V1Auth())
	r.Handle("/v3", s.open(version)).Methods(http.MethodGet, http.MethodHead)
	v3 := r.PathPrefix("/v3").Subrouter()
	v3.NotFoundHandler, v3.MethodNotAllowedHandler = r.NotFoundHandler, r.NotFoundHandler
	v3.Handle("/auth/tokens", s.open(authenticate)).Methods(http.MethodPost)
	v3.Handle("/users/{user}/password", s.open(changePassword)).Methods(http.MethodPost)
	bind := func(method, path string, h handler) {
		methods := []string{method}
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		v3.Handle(path, s.authed(h)).Methods(methods...)
	}
	s.authRoutes(bind)
	s.userRoutes(bind)
	s.projectRoutes(bind)
	s.roleRoutes(bind)
	s.grantRoutes(bind)
	s.credentialRoutes(undelegated(bind))
	s.trustRoutes(undelegated(bind))
	entryRoutes(bind, services)
	entryRoutes(bind, endpoints)
	entryRoutes(bind, regions)
	entryRoutes(bind, policies)
	bind(http.MethodPut, "/regions/{id}", putRegion)
}

// noRoute tells an unknown address from a known one with another method; the router itself mixes them up when several methods share a path.
func noRoute(c *call) error {
	allowed := openstack.Methods(c.r, func(r *http.Request) bool {
		var found mux.RouteMatch
		return c.router.Match(r, &found) && found.MatchErr == nil && found.Route != nil
	})
	if len(allowed) == 0 {
		c.faultStatus(http.StatusNotFound, "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.")
		return nil
	}
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	c.faultStatus(http.StatusMethodNotAllowed, "The method is not allowed for the requested URL.")
	return nil
}

func (s *Server) authRoutes(bind binder) {
	bind(http.MethodGet, "/auth/tokens", showToken)
	bind(http.MethodDelete, "/auth/tokens", revokeToken)
	bind(http.MethodGet, "/auth/catalog", authCatalog)
	bind(http.MethodGet, "/auth/projects", authProjects)
	bind(http.MethodGet, "/auth/domains", authDomains)
	bind(http.MethodGet, "/auth/system", authSystem)
	bind(http.MethodPost, "/ec2tokens", ec2Tokens)
	bind(http.MethodPost, "/s3tokens", s3Tokens)
}

func (s *Server) userRoutes(bind binder) {
	bind(http.MethodGet, "/users", listUsers)
	bind(http.MethodPost, "/users", createUser)
	bind(http.MethodGet, "/users/{user}", showUser)
	bind(http.MethodPatch, "/users/{user}", updateUser)
	bind(http.MethodDelete, "/users/{user}", deleteUser)
	bind(http.MethodGet, "/users/{user}/groups", userGroups)
	bind(http.MethodGet, "/users/{user}/projects", userProjects)
	bind(http.MethodGet, "/groups", listGroups)
	bind(http.MethodPost, "/groups", createGroup)
	bind(http.MethodGet, "/groups/{group}", showGroup)
	bind(http.MethodPatch, "/groups/{group}", updateGroup)
	bind(http.MethodDelete, "/groups/{group}", deleteGroup)
	bind(http.MethodGet, "/groups/{group}/users", groupUsers)
	bind(http.MethodPut, "/groups/{group}/users/{user}", addToGroup)
	bind(http.MethodGet, "/groups/{group}/users/{user}", checkInGroup)
	bind(http.MethodDelete, "/groups/{group}/users/{user}", removeFromGroup)
}

func (s *Server) projectRoutes(bind binder) {
	bind(http.MethodGet, "/projects", listProjects)
	bind(http.MethodPost, "/projects", createProject)
	bind(http.MethodGet, "/projects/{project}", showProject)
	bind(http.MethodPatch, "/projects/{project}", updateProject)
	bind(http.MethodDelete, "/projects/{project}", deleteProject)
	bind(http.MethodGet, "/projects/{project}/tags", listTags)
	bind(http.MethodPut, "/projects/{project}/tags", replaceTags)
	bind(http.MethodDelete, "/projects/{project}/tags", deleteTags)
	bind(http.MethodGet, "/projects/{project}/tags/{tag}", checkTag)
	bind(http.MethodPut, "/projects/{project}/tags/{tag}", addTag)
	bind(http.MethodDelete, "/projects/{project}/tags/{tag}", deleteTag)
	bind(http.MethodGet, "/domains", listDomains)
	bind(http.MethodPost, "/domains", createDomain)
	bind(http.MethodGet, "/domains/{domain}", showDomain)
	bind(http.MethodPatch, "/domains/{domain}", updateDomain)
	bind(http.MethodDelete, "/domains/{domain}", deleteDomain)
}

func (s *Server) roleRoutes(bind binder) {
	bind(http.MethodGet, "/roles", listRoles)
	bind(http.MethodPost, "/roles", createRole)
	bind(http.MethodGet, "/roles/{role}", showRole)
	bind(http.MethodPatch, "/roles/{role}", updateRole)
	bind(http.MethodDelete, "/roles/{role}", deleteRole)
	bind(http.MethodGet, "/roles/{role}/implies", listImplied)
	bind(http.MethodGet, "/roles/{role}/implies/{implied}", checkImplied)
	bind(http.MethodPut, "/roles/{role}/implies/{implied}", imply)
	bind(http.MethodDelete, "/roles/{role}/implies/{implied}", unimply)
	bind(http.MethodGet, "/role_inferences", listInferences)
	bind(http.MethodGet, "/role_assignments", listAssignments)
}

func (s *Server) credentialRoutes(bind binder) {
	bind(http.MethodGet, "/credentials", listCredentials)
	bind(http.MethodPost, "/credentials", createCredential)
	bind(http.MethodGet, "/credentials/{credential}", showCredential)
	bind(http.MethodPatch, "/credentials/{credential}", updateCredential)
	bind(http.MethodDelete, "/credentials/{credential}", deleteCredential)
	bind(http.MethodGet, "/users/{user}/credentials/OS-EC2", listEC2)
	bind(http.MethodPost, "/users/{user}/credentials/OS-EC2", createEC2)
	bind(http.MethodGet, "/users/{user}/credentials/OS-EC2/{access}", showEC2)
	bind(http.MethodDelete, "/users/{user}/credentials/OS-EC2/{access}", deleteEC2)
	bind(http.MethodGet, "/users/{user}/application_credentials", listApplicationCredentials)
	bind(http.MethodPost, "/users/{user}/application_credentials", createApplicationCredential)
	bind(http.MethodGet, "/users/{user}/application_credentials/{credential}", showApplicationCredential)
	bind(http.MethodDelete, "/users/{user}/application_credentials/{credential}", deleteApplicationCredential)
}
