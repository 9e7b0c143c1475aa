package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table prints rows in columns, numbers to the right.
type table struct {
	right []bool
	rows  [][]string
}

// newTable takes pairs of a heading and "<" or ">".
func newTable(columns ...string) *table {
	t := &table{rows: [][]string{nil}}
	for i := 0; i < len(columns); i += 2 {
		t.rows[0] = append(t.rows[0], columns[i])
		t.right = append(t.right, columns[i+1] == ">")
	}
	return t
}

func (t *table) row(cells ...any) {
	row := make([]string, len(t.right))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

func (t *table) print(out io.Writer) {
	widths := make([]int, len(t.right))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
			line.WriteString("  ")
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}
