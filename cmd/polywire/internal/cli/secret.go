package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxSecretBytes is the most that a secret in a file may have.
const maxSecretBytes = 2048

// ReadSecret returns the text of a secret: of a variable (env:NAME) or of a
// file (file:PATH), so that it stands in no list of processes.
func ReadSecret(text string) (string, error) {
	source, name, _ := strings.Cut(text, ":")
	switch {
	case source == "env" && name != "":
		if value := os.Getenv(name); value != "" {
			return value, nil
		}
		return "", fmt.Errorf("the variable %s is not set", name)
	case source == "file" && name != "":
		b, err := os.ReadFile(name) //nolint:gosec // whoever starts the program names it
		if err != nil {
			return "", err
		}
		if value := strings.TrimRight(string(b), "\r\n"); value != "" && len(value) <= maxSecretBytes {
			return value, nil
		}
		return "", fmt.Errorf("%s is empty, or too long for a secret", name)
	}
	return "", errors.New("want env:NAME or file:PATH: a secret among the arguments stands in the list of processes")
}
