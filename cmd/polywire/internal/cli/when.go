package cli

import (
	"fmt"
	"time"
)

// TimeOrAgo reads a time (RFC 3339), or how long before now it was (90m). An
// empty text is the zero time. flag is what its error begins with.
func TimeOrAgo(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%s %q: want a time like %s, or how long ago it was, like 90m", flag, text, now.UTC().Format(time.RFC3339))
	}
	return t, nil
}
