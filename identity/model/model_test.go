package model

import (
	"slices"
	"testing"

	"henge/cluster/state"
	"henge/internal/errs"
)

// write runs a transaction that must hold.
func write(t *testing.T, store state.Store, fn func(w state.Writer) error) {
	t.Helper()
	if err := store.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// family is a store with a tree of projects a > b > c in the domain d, the user u in the group g, and some roles.
func family(t *testing.T) state.Store {
	t.Helper()
	store := state.NewMemory()
	write(t, store, func(w state.Writer) error {
		for _, err := range []error{
			Domains.Put(w, "d", Domain{ID: "d", Name: "D", Enabled: true}),
			Projects.Put(w, "a", Project{ID: "a", Name: "a", DomainID: "d", ParentID: "d", Enabled: true}),
			Projects.Put(w, "b", Project{ID: "b", Name: "b", DomainID: "d", ParentID: "a", Enabled: true}),
			Projects.Put(w, "c", Project{ID: "c", Name: "c", DomainID: "d", ParentID: "b", Enabled: true}),
			Users.Put(w, "u", User{ID: "u", Name: "u", DomainID: "d", Enabled: true, DefaultProjectID: "a"}),
			Groups.Put(w, "g", Group{ID: "g", Name: "g", DomainID: "d"}),
			Memberships.Put(w, "g:u", Membership{GroupID: "g", UserID: "u"}),
			Roles.Put(w, "r1", Role{ID: "r1", Name: "strong"}),
			Roles.Put(w, "r2", Role{ID: "r2", Name: "weak"}),
			Roles.Put(w, "r3", Role{ID: "r3", Name: "local", DomainID: "d"}),
			Implications.Put(w, "r1:r2", Implication{"r1", "r2"}),
			Implications.Put(w, "r3:r2", Implication{"r3", "r2"}),
			Implications.Put(w, "r2:r2", Implication{"r2", "r2"}),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	return store
}

func TestRolesOn(t *testing.T) {
	user, group := Actor{ActorUser, "u"}, Actor{ActorGroup, "g"}
	onProject := func(id string) Target { return Target{TargetProject, id} }
	onDomain := Target{TargetDomain, "d"}
	for _, tc := range []struct {
		name   string
		grant  Assignment
		target Target
		want   []string
	}{
		{"direct, with what it implies", Assignment{Actor: user, Target: onProject("b"), RoleID: "r1"}, onProject("b"), []string{"strong", "weak"}},
		{"by a group", Assignment{Actor: group, Target: onProject("b"), RoleID: "r2"}, onProject("b"), []string{"weak"}},
		{"a domain's role counts by what it implies", Assignment{Actor: user, Target: onProject("b"), RoleID: "r3"}, onProject("b"), []string{"weak"}},
		{"elsewhere", Assignment{Actor: user, Target: onProject("b"), RoleID: "r1"}, onProject("c"), nil},
		{"inherited from above", Assignment{Actor: user, Target: onProject("a"), RoleID: "r2", Inherited: true}, onProject("c"), []string{"weak"}},
		{"inherited is not for the place itself", Assignment{Actor: user, Target: onProject("a"), RoleID: "r2", Inherited: true}, onProject("a"), nil},
		{"inherited from the domain", Assignment{Actor: group, Target: onDomain, RoleID: "r2", Inherited: true}, onProject("c"), []string{"weak"}},
		{"on the domain itself", Assignment{Actor: user, Target: onDomain, RoleID: "r2"}, onDomain, []string{"weak"}},
		{"on the domain is not on its projects", Assignment{Actor: user, Target: onDomain, RoleID: "r2"}, onProject("a"), nil},
		{"on the system", Assignment{Actor: user, Target: SystemTarget(), RoleID: "r2"}, SystemTarget(), []string{"weak"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := family(t)
			write(t, store, func(w state.Writer) error { return Grant(w, tc.grant) })
			err := store.View(t.Context(), func(r state.Reader) error {
				roles, err := RolesOn(r, "u", tc.target)
				var names []string
				for _, role := range roles {
					names = append(names, role.Name)
				}
				if !slices.Equal(names, tc.want) {
					t.Errorf("roles %v, want %v", names, tc.want)
				}
				projects, perr := ProjectsOf(r, "u")
				on := slices.ContainsFunc(projects, func(p Project) bool { return p.ID == tc.target.ID })
				if perr != nil || tc.target.Kind == TargetProject && on != (tc.want != nil) {
					t.Errorf("projects %v, %v", projects, perr)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestGrant_ChecksWhatItNames(t *testing.T) {
	store := family(t)
	for _, a := range []Assignment{
		{Actor: Actor{ActorUser, "x"}, Target: SystemTarget(), RoleID: "r1"},
		{Actor: Actor{ActorGroup, "x"}, Target: SystemTarget(), RoleID: "r1"},
		{Actor: Actor{ActorUser, "u"}, Target: Target{TargetProject, "x"}, RoleID: "r1"},
		{Actor: Actor{ActorUser, "u"}, Target: Target{TargetDomain, "x"}, RoleID: "r1"},
		{Actor: Actor{ActorUser, "u"}, Target: SystemTarget(), RoleID: "x"},
	} {
		if err := store.Update(t.Context(), func(w state.Writer) error { return Grant(w, a) }); !errs.Is(err, errs.NotFound) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// TestDeleteDomain_LeavesNothing: whatever belonged to the domain is gone, index entries included.
func TestDeleteDomain_LeavesNothing(t *testing.T) {
	store := family(t)
	write(t, store, func(w state.Writer) error {
		for _, err := range []error{
			Grant(w, Assignment{Actor: Actor{ActorUser, "u"}, Target: Target{TargetProject, "c"}, RoleID: "r1"}),
			Grant(w, Assignment{Actor: Actor{ActorGroup, "g"}, Target: Target{TargetDomain, "d"}, RoleID: "r3", Inherited: true}),
			Credentials.Put(w, "k", Credential{ID: "k", Type: AccessKeyType, UserID: "u", ProjectID: "c", Blob: `{"access":"AK","secret":"S"}`}),
			ApplicationCredentials.Put(w, "app", ApplicationCredential{ID: "app", Name: "app", UserID: "u", ProjectID: "c"}),
			DeleteDomain(w, "d"),
			DeleteRole(w, "r1"),
			DeleteRole(w, "r2"),
			EndedProjects.Delete(w, "a"), EndedProjects.Delete(w, "b"), EndedProjects.Delete(w, "c"), // for other services to take note of
		} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	err := store.View(t.Context(), func(r state.Reader) error {
		for key := range r.Scan("") {
			t.Errorf("left behind: %q", key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSubstitute(t *testing.T) {
	for _, tc := range []struct {
		url, project, want string
		ok                 bool
	}{
		{"http://x/v3", "", "http://x/v3", true},
		{"http://x/AUTH_%(project_id)s", "p", "http://x/AUTH_p", true},
		{"http://x/$(tenant_id)s/$(user_id)s", "p", "http://x/p/u", true},
		{"http://x/%(tenant_id)s", "", "", false},
		{"http://x/%(user_id)s", "", "http://x/u", true},
	} {
		if got, ok := substitute(tc.url, tc.project, "u"); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %q, %v", tc.url, got, ok)
		}
	}
}
