package console

import "github.com/polywire/polywire/cmd/polywire/internal/config"

type settingsAnswer struct {
	Settings []config.Effective `json:"settings"`
}

func (c *Console) settings(*request) (any, error) {
	out := settingsAnswer{Settings: []config.Effective{}}
	if c.o.Settings != nil {
		out.Settings = append(out.Settings, c.o.Settings()...)
	}
	return out, nil
}
