package model

import (
	"henge/cluster/state"
)

// DeleteUser removes a user with all that is his: grants, memberships, credentials, trusts that he gave or was given.
func DeleteUser(w state.Writer, id string) error {
	if err := Users.Delete(w, id); err != nil {
		return err
	}
	if err := deleteWhere(w, Assignments, "actor", Actor{ActorUser, id}.Key(), Assignment.RowID); err != nil {
		return err
	}
	if err := deleteWhere(w, Memberships, "user", id, Membership.RowID); err != nil {
		return err
	}
	if err := deleteWhere(w, ApplicationCredentials, "user", id, func(a ApplicationCredential) string { return a.ID }); err != nil {
		return err
	}
	for _, index := range []string{"trustor", "trustee"} {
		if err := deleteWhere(w, Trusts, index, id, func(t Trust) string { return t.ID }); err != nil {
			return err
		}
	}
	return deleteWhere(w, Credentials, "user", id, func(c Credential) string { return c.ID })
}

// DeleteGroup removes a group, its grants and its memberships.
func DeleteGroup(w state.Writer, id string) error {
	if err := Groups.Delete(w, id); err != nil {
		return err
	}
	if err := deleteWhere(w, Assignments, "actor", Actor{ActorGroup, id}.Key(), Assignment.RowID); err != nil {
		return err
	}
	return deleteWhere(w, Memberships, "group", id, Membership.RowID)
}

// DeleteProject removes a project, the grants on it, the credentials for it, and its being anybody's default. Projects below it are the
// caller's to look for.
func DeleteProject(w state.Writer, id string) error {
	if err := Projects.Delete(w, id); err != nil {
		return err
	}
	if err := EndedProjects.Put(w, id, EndedProject{ID: id}); err != nil {
		return err
	}
	if err := deleteWhere(w, Assignments, "target", Target{TargetProject, id}.Key(), Assignment.RowID); err != nil {
		return err
	}
	if err := deleteWhere(w, ApplicationCredentials, "project", id, func(a ApplicationCredential) string { return a.ID }); err != nil {
		return err
	}
	if err := deleteWhere(w, Trusts, "project", id, func(t Trust) string { return t.ID }); err != nil {
		return err
	}
	if err := deleteWhere(w, Credentials, "project", id, func(c Credential) string { return c.ID }); err != nil {
		return err
	}
	users, err := collect(w, Users, "project", id)
	if err != nil {
		return err
	}
	for _, u := range users {
		u.DefaultProjectID = ""
		if err := Users.Put(w, u.ID, u); err != nil {
			return err
		}
	}
	return nil
}

// DeleteDomain removes a domain with its projects, users, groups and roles.
func DeleteDomain(w state.Writer, id string) error {
	if err := Domains.Delete(w, id); err != nil {
		return err
	}
	if err := each(w, Projects, "domain", id, func(p Project) error { return DeleteProject(w, p.ID) }); err != nil {
		return err
	}
	if err := each(w, Groups, "domain", id, func(g Group) error { return DeleteGroup(w, g.ID) }); err != nil {
		return err
	}
	if err := each(w, Users, "domain", id, func(u User) error { return DeleteUser(w, u.ID) }); err != nil {
		return err
	}
	if err := each(w, Roles, "domain", id, func(r Role) error { return DeleteRole(w, r.ID) }); err != nil {
		return err
	}
	return deleteWhere(w, Assignments, "target", Target{TargetDomain, id}.Key(), Assignment.RowID)
}

// DeleteRole removes a role, every grant of it, and what it implied or was implied by.
func DeleteRole(w state.Writer, id string) error {
	if err := Roles.Delete(w, id); err != nil {
		return err
	}
	if err := deleteWhere(w, Assignments, "role", id, Assignment.RowID); err != nil {
		return err
	}
	if err := deleteWhere(w, Implications, "prior", id, Implication.RowID); err != nil {
		return err
	}
	return deleteWhere(w, Implications, "implied", id, Implication.RowID)
}

// DeleteService removes a service and its endpoints.
func DeleteService(w state.Writer, id string) error {
	if err := Services.Delete(w, id); err != nil {
		return err
	}
	return deleteWhere(w, Endpoints, "service", id, func(e Endpoint) string { return e.ID })
}

// Revoke drops a grant; errs.NotFound when it was not there.
func Revoke(w state.Writer, a Assignment) error {
	return Assignments.Delete(w, a.RowID())
}

// collect reads the rows of an index before anything is deleted under the scan.
func collect[T any](r state.Reader, t state.Table[T], index, key string) ([]T, error) {
	var rows []T
	for row, err := range t.Where(r, index, key) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func each[T any](w state.Writer, t state.Table[T], index, key string, fn func(T) error) error {
	rows, err := collect(w, t, index, key)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := fn(row); err != nil {
			return err
		}
	}
	return nil
}

func deleteWhere[T any](w state.Writer, t state.Table[T], index, key string, id func(T) string) error {
	return each(w, t, index, key, func(row T) error { return ignoreMissing(t.Delete(w, id(row))) })
}
