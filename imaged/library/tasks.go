package library

import (
	"context"
	"slices"
	"time"

	"henge/cluster/state"
	"henge/identity/authn"
	"henge/imaged/model"
	"henge/internal/limits"
)

// taskLife is how long a task is kept after it ended: Glance's default.
const taskLife = 48 * time.Hour

// The statuses of a task that we make.
const (
	taskProcessing = "processing"
	taskSuccess    = "success"
	taskFailure    = "failure"
)

// putTask adds a task; the oldest of too many of one image goes.
func putTask(w state.Writer, t model.Task) error {
	all, err := tasksOf(w, t.ImageID)
	if err != nil {
		return err
	}
	if len(all) >= limits.ImageTasksMax {
		if err := model.Tasks.Delete(w, all[0].ID); err != nil {
			return err
		}
	}
	return model.Tasks.Put(w, t.ID, t)
}

// endTask notes how a task ended: well, if why is "". No id is no task.
func endTask(w state.Writer, id, why string, now time.Time) error {
	if id == "" {
		return nil
	}
	t, there, err := model.Optional(model.Tasks.Get(w, id))
	if err != nil || !there {
		return err
	}
	t.Status, t.Message = taskSuccess, why
	if why != "" {
		t.Status = taskFailure
	}
	t.Updated, t.Expires = now, now.Add(taskLife)
	return model.Tasks.Put(w, id, t)
}

// tasksOf are an image's tasks, the oldest first.
func tasksOf(r state.Reader, image string) ([]model.Task, error) {
	var all []model.Task
	for t, err := range model.Tasks.Where(r, "image", image) {
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b model.Task) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// Tasks are the tasks of an image that who may see.
func (l *Library) Tasks(ctx context.Context, who *authn.Identity, id string) (all []model.Task, err error) {
	err = l.Store.View(ctx, func(r state.Reader) error {
		if _, err := model.Find(r, id, who); err != nil {
			return err
		}
		all, err = tasksOf(r, id)
		return err
	})
	return all, err
}

func expiredTasks(r state.Reader, now time.Time) ([]string, error) {
	var ids []string
	for t, err := range model.Tasks.All(r) {
		if err != nil {
			return nil, err
		}
		if !t.Expires.IsZero() && t.Expires.Before(now) {
			ids = append(ids, t.ID)
		}
	}
	return ids, nil
}

func dropTasks(w state.Writer, ids []string) error {
	for _, id := range ids {
		if _, there, err := model.Optional(model.Tasks.Get(w, id)); err != nil {
			return err
		} else if !there {
			continue
		}
		if err := model.Tasks.Delete(w, id); err != nil {
			return err
		}
	}
	return nil
}
