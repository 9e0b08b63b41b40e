package clustertest

import (
	"context"
	"slices"

	"github.com/polywire/polywire/cluster"
)

// linked spoils the links of a log's messages.
func linked(link func(b *faultyBus, m *cluster.Message)) func(f *faulty) {
	return func(f *faulty) {
		f.receive = func(b *faultyBus, m cluster.Message) {
			if m.Log != "" {
				link(b, &m)
			}
			b.r.Receive(m)
		}
	}
}

// paged spoils pages.
func paged(page func(p cluster.Position, page *cluster.Page)) func(f *faulty) {
	return func(f *faulty) {
		f.after = func(l *faultyLog, ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
			result, err := l.good.After(ctx, topic, p)
			page(p, &result)
			return result, err
		}
	}
}

// opened spoils options.
func opened(o func(o *cluster.LogOptions)) func(f *faulty) {
	return func(f *faulty) {
		f.logOpen = func(b *faultyBus, ctx context.Context, name string, options cluster.LogOptions) (cluster.Log, error) {
			o(&options)
			return b.good.(cluster.Historian).Log(ctx, name, options)
		}
	}
}

// appended spoils what is appended.
func appended(spoil func(topic *string, data *[]byte)) func(f *faulty) {
	return func(f *faulty) {
		f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
			spoil(&topic, &data)
			return l.good.Append(ctx, topic, data)
		}
	}
}

func logFaults() []fault {
	return []fault{
		{"own messages do not come", "appended messages arrive", func(f *faulty) {
			f.receive = func(b *faultyBus, m cluster.Message) {
				if m.Log == "" || m.From != b.self.ID {
					b.r.Receive(m)
				}
			}
		}},
		{"append returns another position", "appended messages arrive", func(f *faulty) {
			f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
				p, err := l.good.Append(ctx, topic, data)
				p.Offset++
				return p, err
			}
		}},
		{"there are no links", "log with many appenders", linked(func(_ *faultyBus, m *cluster.Message) { m.Prev = 0 })},
		{"links lead over all topics", "log with many topics", linked(func(_ *faultyBus, m *cluster.Message) { m.Prev = m.At.Offset - 1 })},
		{"after includes", "after every position", func(f *faulty) {
			f.after = func(l *faultyLog, ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
				if p.Offset > 0 {
					p.Offset--
				}
				return l.good.After(ctx, topic, p)
			}
		}},
		{"the top is ahead", "after every position", paged(func(_ cluster.Position, page *cluster.Page) { page.Top.Offset++ })},
		{"nothing has no top", "a topic without messages", paged(func(_ cluster.Position, page *cluster.Page) {
			if page.Top.Offset < 4 {
				page.Top = cluster.Position{}
			}
		})},
		{"epochs are not looked at", "positions of another epoch", func(f *faulty) {
			f.after = func(l *faultyLog, ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
				page, err := l.good.After(ctx, topic, cluster.Position{})
				if err != nil {
					return page, err
				}
				p.Epoch = page.Top.Epoch
				return l.good.After(ctx, topic, p)
			}
		}},
		{"what is not complete has messages", "bound in messages", func(f *faulty) {
			f.after = func(l *faultyLog, ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
				page, err := l.good.After(ctx, topic, p)
				if !page.Complete {
					page.Messages = make([]cluster.Message, 1)
				}
				return page, err
			}
		}},
		{"interest in logs does not end", "interest in a log ends", func(f *faulty) {
			f.logInterest = func(l *faultyLog, topic string, _ bool) { l.good.Interest(topic, true) }
		}},
	}
}

func boundFaults() []fault {
	return []fault{
		{"all pages are complete", "bound in messages", paged(func(p cluster.Position, page *cluster.Page) { page.Complete = p.Epoch != "" })},
		{"one more is kept", "bound of one message", opened(func(o *cluster.LogOptions) { o.Size++ })},
		{"messages do not age", "bound in time", opened(func(o *cluster.LogOptions) { o.Age = 0 })},
		{"messages age early", "bound in time", opened(func(o *cluster.LogOptions) { o.Age /= 2 })},
		{"links do not lead over what is gone", "the link over messages that are gone", linked(func(_ *faultyBus, m *cluster.Message) {
			if m.At.Offset > 2 {
				m.Prev = 0
			}
		})},
		{"bytes are not bounded", "bound in bytes", opened(func(o *cluster.LogOptions) { o.Bytes = 0 })},
		{"twice the bytes", "bound in bytes", opened(func(o *cluster.LogOptions) { o.Bytes += o.Bytes / 4 })},
	}
}

func useFaults() []fault {
	return []fault{
		{"all logs are one", "logs and the bus are separate", func(f *faulty) {
			f.logOpen = func(b *faultyBus, ctx context.Context, _ string, o cluster.LogOptions) (cluster.Log, error) {
				return b.good.(cluster.Historian).Log(ctx, "log", o)
			}
			f.receive = func(b *faultyBus, m cluster.Message) {
				b.r.Receive(m)
			}
		}},
		{"logs are published", "logs and the bus are separate", func(f *faulty) {
			f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
				_ = l.b.good.Publish(ctx, []string{topic}, data)
				return l.good.Append(ctx, topic, data)
			}
		}},
		{"who opens a log empties it", "a node that comes later", func(f *faulty) {
			f.logOpen = func(b *faultyBus, ctx context.Context, name string, o cluster.LogOptions) (cluster.Log, error) {
				f.hub.LoseLogs()
				return b.good.(cluster.Historian).Log(ctx, name, o)
			}
		}},
		{"options are not compared", "options of a log", opened(func(o *cluster.LogOptions) { o.Size = min(o.Size, 17) })},
		{"bad options are mended", "options of a log", opened(func(o *cluster.LogOptions) { o.Size = max(o.Size, 1) })},
		{"large messages of logs are cut", "log with messages of all sizes", appended(func(_ *string, data *[]byte) {
			*data = (*data)[:min(len(*data), 1<<16)]
		})},
		{"too much is appended without a word", "log with a message that is too large", func(f *faulty) {
			f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
				if len(data) > cluster.MaxMemoryBytes {
					return cluster.Position{}, nil
				}
				return l.good.Append(ctx, topic, data)
			}
		}},
		{"topics of logs have no case", "log with topics of any bytes", appended(func(topic *string, _ *[]byte) { *topic = lower(*topic) })},
		{"an empty topic is one", "log with topics of any bytes", func(f *faulty) {
			f.after = func(l *faultyLog, ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
				if topic == "" {
					return cluster.Page{}, nil
				}
				return l.good.After(ctx, topic, p)
			}
		}},
		{"after is behind append", "a log in use by many", paged(func(_ cluster.Position, page *cluster.Page) {
			if n := len(page.Messages); n > 0 {
				page.Top.Offset = page.Messages[n-1].Prev
				page.Messages = page.Messages[:n-1]
			}
		})},
	}
}

func logOutageFaults() []fault {
	return []fault{
		{"an outage loses messages without a trace", "a log whose engine was away", func(f *faulty) {
			start := f.setup.Start
			f.setup.Start = func() { start(); f.count.Store(1) }
			f.after = func(l *faultyLog, ctx context.Context, topic string, p cluster.Position) (cluster.Page, error) {
				page, err := l.good.After(ctx, topic, p)
				if f.count.Load() > 0 && len(page.Messages) > 0 {
					page.Messages = slices.Delete(page.Messages, 0, 1)
				}
				return page, err
			}
		}},
		{"an outage ends interests in logs", "a log whose engine was away", func(f *faulty) {
			f.receive = func(b *faultyBus, m cluster.Message) {
				if m.Log == "" || !b.closed.Load() {
					b.r.Receive(m)
				}
			}
			f.available = func(b *faultyBus, up bool) {
				b.closed.Store(true)
				b.r.Available(up)
			}
		}},
		{"append tries again", "appending while the engine goes and comes", func(f *faulty) {
			f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
				if f.count.Add(1)%10 == 0 {
					_, _ = l.good.Append(ctx, topic, data)
				}
				return l.good.Append(ctx, topic, data)
			}
		}},
		{"a loss is no news", "a log that was lost", func(f *faulty) {
			f.append = func(l *faultyLog, ctx context.Context, topic string, data []byte) (cluster.Position, error) {
				p, err := l.good.Append(ctx, topic, data)
				p.Epoch = "e"
				return p, err
			}
		}},
		{"links hide holes", "messages missed by a node that was cut off", linked(func(b *faultyBus, m *cluster.Message) {
			if b.last == nil {
				b.last = make(map[string]uint64)
			}
			m.Prev = b.last[m.Topic]
			b.last[m.Topic] = m.At.Offset
		})},
		{"the dead take their messages along", "a log whose appender was killed", func(f *faulty) {
			kill := f.setup.Kill
			f.setup.Kill = func(id string) { kill(id); f.hub.LoseLogs() }
		}},
	}
}
