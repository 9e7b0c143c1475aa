package identity

import (
	"context"

	"henge/cluster/state"
	"henge/identity/model"
	"henge/internal/errs"
)

// EndedProjects are the ids of projects that were deleted and have not been settled: what they left in other services is still to be removed. At most limit of them.
func (id *Identity) EndedProjects(ctx context.Context, limit int) (ids []string, err error) {
	err = id.store.View(ctx, func(r state.Reader) error {
		ids = nil
		for row, err := range model.EndedProjects.All(r) {
			if err != nil {
				return err
			}
			if len(ids) == limit {
				return nil
			}
			ids = append(ids, row.ID)
		}
		return nil
	})
	return ids, err
}

// SettleProject says that nothing is left to be done for a project that was deleted.
func (id *Identity) SettleProject(ctx context.Context, project string) error {
	return id.store.Update(ctx, func(w state.Writer) error {
		err := model.EndedProjects.Delete(w, project)
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		return err
	})
}
