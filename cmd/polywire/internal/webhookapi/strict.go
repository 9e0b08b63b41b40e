package webhookapi

import (
	"fmt"
	"strings"

	"github.com/polywire/polywire/cmd/polywire/internal/strictjson"
)

// decodeStrict decodes one JSON object into a struct. Errors wrap errJSON.
func decodeStrict(b []byte, v any) error {
	if err := strictjson.Decode(b, v, "data"); err != nil {
		return fmt.Errorf("%w: %s", errJSON, strings.TrimPrefix(err.Error(), "webhook: "))
	}
	return nil
}
