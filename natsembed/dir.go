package natsembed

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	lockFile   = "natsembed.lock"
	recordFile = "natsembed.json"
)

// store is a directory that belongs to one server. It has nothing with NoJetStream.
type store struct {
	dir    string
	lock   *os.File
	remove bool

	once sync.Once
	err  error
}

// record is what a directory says of the server that it belongs to.
type record struct {
	Name    string `json:"name"`
	Cluster string `json:"cluster,omitempty"` // empty: it is alone
}

// openStore takes the directory and completes o.Name.
func openStore(o *Options) (*store, error) {
	if o.NoJetStream {
		if o.Name == "" {
			o.Name = newName()
		}
		return &store{}, nil
	}
	st := &store{remove: o.TemporaryDir}
	dir, err := makeDir(o)
	if err != nil {
		return nil, fmt.Errorf("natsembed: %w", err)
	}
	st.dir = dir
	if st.lock, err = lock(filepath.Join(dir, lockFile)); err != nil {
		return nil, err
	}
	if err := st.identify(o); err != nil {
		return nil, errors.Join(err, st.close())
	}
	return st, nil
}

func makeDir(o *Options) (string, error) {
	if o.TemporaryDir {
		return os.MkdirTemp("", "natsembed-")
	}
	dir, err := filepath.Abs(o.Dir) // the process may change its own
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// lock takes the file's lock, which the operating system frees when the
// process ends, however it does. The file stays: removing it would let two
// processes lock two files of one name.
func lock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the directory is the application's choice
	if err != nil {
		return nil, fmt.Errorf("natsembed: %w", err)
	}
	if err := tryLock(f); err != nil {
		_ = f.Close()
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("natsembed: lock %s: %w", name, err)
		}
		return nil, fmt.Errorf("%w: %s, by %s", ErrInUse, filepath.Dir(name), holder(name))
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("natsembed: %w", errors.Join(err, f.Close()))
	}
	return f, nil
}

// holder says who has a lock.
func holder(name string) string {
	text, err := os.ReadFile(name) //nolint:gosec // as in lock
	pid, _, _ := strings.Cut(string(text), "\n")
	switch n, bad := strconv.Atoi(pid); {
	case err != nil || bad != nil:
		return "another process"
	case n == os.Getpid():
		return "this process (" + pid + ")"
	}
	return "process " + pid
}

// identify compares the directory's record with what the server is to be. A
// node of a cluster removes streams that the cluster does not know: those of a
// lone server, of another cluster, or of another name, would be lost.
func (st *store) identify(o *Options) error {
	name := filepath.Join(st.dir, recordFile)
	var had record
	text, err := os.ReadFile(name) //nolint:gosec // as in lock
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &had); err != nil {
			return fmt.Errorf("natsembed: %s: %w", name, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("natsembed: %w", err)
	}
	want := record{Name: o.Name}
	if o.Cluster != nil {
		want.Cluster = o.Cluster.Name
	}
	if want.Name == "" {
		want.Name = had.Name
	}
	if want.Name == "" {
		want.Name = newName()
	}
	o.Name = want.Name
	if want == had {
		return nil
	}
	if err := st.mayChange(had, want); err != nil {
		return err
	}
	return writeRecord(name, want)
}

func (st *store) mayChange(had, want record) error {
	if had.Cluster == "" && want.Cluster == "" {
		return nil // a lone server may be called anything
	}
	used, err := st.used()
	if err != nil || !used {
		return err
	}
	return fmt.Errorf("natsembed: %s has streams of %s and cannot become %s: a cluster removes what it does not know; "+
		"use another directory, and copy streams over a connection", st.dir, had, want)
}

func (r record) String() string {
	name := r.Name
	if name == "" {
		name = "an unknown server"
	}
	if r.Cluster == "" {
		return name + ", alone"
	}
	return name + " in the cluster " + r.Cluster
}

// used reports whether a server has kept streams, or a cluster's state, there.
func (st *store) used() (bool, error) {
	base := os.DirFS(filepath.Join(st.dir, server.JetStreamStoreDir))
	for _, pattern := range []string{"*/streams/*", "*/_js_/*"} {
		found, err := fs.Glob(base, pattern)
		if err != nil {
			return false, fmt.Errorf("natsembed: %w", err)
		}
		if len(found) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// writeRecord replaces the record at once: half of one would keep the server
// from starting.
func writeRecord(name string, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("natsembed: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), recordFile+".*")
	if err != nil {
		return fmt.Errorf("natsembed: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("natsembed: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// newName makes a name that no other node has and that says where it runs.
func newName() string {
	host, err := os.Hostname()
	if err != nil || host == "" || hasSpace(host) {
		host = "polywire"
	}
	return host + "-" + strings.ToLower(rand.Text()[:8])
}

// close frees the directory, and removes a temporary one. It may be called
// more than once.
func (st *store) close() error {
	st.once.Do(func() {
		if st.remove { // while the lock is held
			st.err = os.RemoveAll(st.dir)
		}
		if st.lock != nil {
			st.err = errors.Join(st.err, st.lock.Truncate(0), unlock(st.lock), st.lock.Close())
		}
		if st.err != nil {
			st.err = fmt.Errorf("natsembed: %w", st.err)
		}
	})
	return st.err
}
