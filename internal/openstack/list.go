package openstack

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"
)

// listBufferBytes is how much of a list goes to the connection at once.
const listBufferBytes = 64 << 10

// WriteList answers a list of documents that are encoded already, with what else there is, such as the link to the next page. It is written as it goes: the whole
// is never in memory.
func WriteList(w http.ResponseWriter, name string, docs [][]byte, rest map[string]any) error {
	tail := []byte("]}")
	if len(rest) > 0 {
		raw, err := json.Marshal(rest)
		if err != nil {
			return err
		}
		tail = append([]byte("],"), raw[1:]...)
	}
	head := `{"` + name + `":[`
	length := len(head) + len(tail) + max(0, len(docs)-1)
	for _, d := range docs {
		length += len(d)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(http.StatusOK)
	out := bufio.NewWriterSize(w, min(length, listBufferBytes))
	_, _ = out.WriteString(head)
	for i, d := range docs {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_, _ = out.Write(d)
	}
	_, _ = out.Write(tail)
	_ = out.Flush() // a client that has gone away is not an error of ours
	return nil
}
