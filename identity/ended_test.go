package identity

import (
	"slices"
	"testing"
)

func TestEndedProjects(t *testing.T) {
	c := newCloud(t)
	var want []string
	for _, name := range []string{"one", "two"} {
		id := c.make("projects", "project", `{"name":"`+name+`"}`)
		c.want(204, c.admin, "DELETE", "/v3/projects/"+id, "")
		want = append(want, id)
	}
	slices.Sort(want)
	got, err := c.id.EndedProjects(t.Context(), 10)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("ended: %v, %v; want %v", got, err, want)
	}
	if got, err = c.id.EndedProjects(t.Context(), 1); err != nil || len(got) != 1 {
		t.Fatalf("one page of them: %v, %v", got, err)
	}
	for range 2 {
		if err := c.id.SettleProject(t.Context(), want[0]); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = c.id.EndedProjects(t.Context(), 10); err != nil || !slices.Equal(got, want[1:]) {
		t.Fatalf("ended: %v, %v; want %v", got, err, want[1:])
	}
}
