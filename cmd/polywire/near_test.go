package main

import (
	"strings"
	"testing"
)

func TestNearNames(t *testing.T) {
	for args, want := range map[string]string{
		"serv":                           `unknown command "serv" for "polywire"; did you mean serve?`,
		"queue lss":                      `unknown command "lss" for "polywire queue"; did you mean ls?`,
		"queue dead raed":                `unknown command "raed" for "polywire queue dead"; did you mean read?`,
		"webhook endpont ls":             `unknown command "endpont" for "polywire webhook"; did you mean endpoints?`,
		"webhook endpoints ad":           `; did you mean add?`,
		"config chek":                    `; did you mean check?`,
		"bench rnu":                      `; did you mean run?`,
		"hlep":                           `; did you mean help?`,
		"serve --lisen x":                "unknown flag: --lisen; did you mean --listen?",
		"serve --max_connection 5":       "unknown flag: --max_connection; did you mean --max-connections?",
		"serve --limits.connections 5":   "; did you mean --max-connections?",
		"sub --cout 5 room":              "; did you mean --count?",
		"pub --hea a=b room kind":        "; did you mean --header?",
		"config check --lisen x":         "; did you mean --listen?",
		"serve --nothing-like-any-other": "unknown flag: --nothing-like-any-other\n",
		"zzzz":                           "unknown command \"zzzz\" for \"polywire\"\n",
		"serve -z":                       "unknown shorthand flag: 'z' in -z\n",
	} {
		_, _, err := run(t, "", strings.Fields(args)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("polywire %s: %v, want %q", args, err, want)
		}
	}
	for _, args := range [][]string{{}, {"queue"}, {"queue", "dead"}, {"webhook"}, {"webhook", "endpoints"}, {"config"}, {"bench"}} {
		if out, _, err := run(t, "", args...); err != nil || !strings.Contains(out, "Available Commands") {
			t.Errorf("polywire %v: %v\n%s", args, err, out)
		}
	}
}
