package iscsi

import (
	"context"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var summary = regexp.MustCompile(`(?m)^\s+tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)`)

// outcome runs one test of libiscsi's suite by itself.
func outcome(ctx context.Context, name string, urls ...string) (verdict, output string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "iscsi-test-cu", append([]string{"-d", "--test=" + name}, urls...)...).CombinedOutput()
	text := string(out)
	counts := summary.FindStringSubmatch(text)
	switch {
	case ctx.Err() != nil:
		return "hang", text
	case counts == nil:
		return "crash", text
	case counts[4] != "0":
		return "fail", text
	case strings.Contains(text, "[SKIPPED]"):
		return "skip", text
	}
	return "pass", text
}

// toolFaults are tests that no target passes, tgtd included: the test itself is wrong.
var toolFaults = []string{
	"ALL.GetLBAStatus.UnmapSingle",     // asks for block i+1 and wants to be answered about i+8
	"ALL.iSCSITMF.LUNResetSimpleAsync", // checks a variable that only the answer sets, before the answer came
}

// TestConformance runs the whole of libiscsi's suite. tgtd passes 167 of these 230.
func TestConformance(t *testing.T) {
	r := newRig(t, Config{})
	r.open(t, memory())
	list, err := exec.Command("iscsi-test-cu", "-l").Output()
	if err != nil {
		t.Fatal(err)
	}
	url := "iscsi://" + r.addr + "/" + testIQN + "/0"
	count := map[string]int{}
	for _, name := range strings.Fields(string(list)) {
		if !strings.HasPrefix(name, "ALL.") || strings.Count(name, ".") != 2 {
			continue
		}
		urls := []string{url}
		if strings.Contains(name, "Multipath") {
			urls = append(urls, url)
		}
		verdict, output := outcome(t.Context(), name, urls...)
		count[verdict]++
		if verdict != "pass" && verdict != "skip" && !slices.Contains(toolFaults, name) {
			t.Errorf("%s: %s\n%s", name, verdict, output)
		} else if verdict != "pass" {
			t.Logf("%s: %s", name, verdict)
		}
	}
	t.Log(count)
	if count["pass"] < 180 || count["crash"]+count["hang"] > 0 {
		t.Errorf("%v: 180 passed once, and none crashed or hung", count)
	}
}
