package lint

import (
	"go/ast"
	"go/token"
	"path"
	"strings"
	"testing"
)

const (
	functionLinesMax = 70
	fileLinesMax     = 800
	packageLinesMax  = 6000
)

func TestMeasures(t *testing.T) {
	packages := map[string]int{}
	for _, s := range tree(t) {
		if s.lines > fileLinesMax {
			t.Errorf("%s has %d lines; %d are allowed", s.path, s.lines, fileLinesMax)
		}
		if !s.test {
			packages[s.dir] += s.lines
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			if n := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; n > functionLinesMax {
				t.Errorf("%s: %s has %d lines; %d are allowed", s.set.Position(f.Pos()), f.Name.Name, n, functionLinesMax)
			}
		}
	}
	for dir, n := range packages {
		if n > packageLinesMax {
			t.Errorf("package %s has %d lines; %d are allowed", dir, n, packageLinesMax)
		}
	}
}

func TestNamesOfPackages(t *testing.T) {
	for _, s := range tree(t) {
		switch base := path.Base(s.dir); base {
		case "common", "util", "utils", "helpers", "types", "models", "misc":
			t.Errorf("%s: %q says nothing", s.path, base)
		}
	}
}

func TestNothingThatDoesNotBelong(t *testing.T) {
	for _, s := range tree(t) {
		inCmd := s.file.Name.Name == "main"
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init: hand things in instead", s.set.Position(f.Pos()))
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok {
				checkCall(t, s, call.Pos(), pkg.Name+"."+call.Sel.Name, inCmd)
			}
			return true
		})
	}
}

func checkCall(t *testing.T, s source, pos token.Pos, name string, inCmd bool) {
	t.Helper()
	switch {
	case name == "time.Sleep" && s.test && !s.simulatesTime():
		t.Errorf("%s: a fixed sleep in a test: wait for a condition", s.set.Position(pos))
	case (name == "os.Exit" || name == "log.Fatal" || name == "log.Fatalf") && !inCmd && !s.test:
		t.Errorf("%s: %s belongs in cmd only", s.set.Position(pos), name)
	case (name == "os.Getenv" || name == "os.LookupEnv") && !inCmd && !s.test && !strings.HasPrefix(s.dir, "e2e"):
		t.Errorf("%s: the environment is read in cmd only", s.set.Position(pos))
	}
}
