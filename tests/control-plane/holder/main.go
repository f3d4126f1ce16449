// holder does the three small things around a node that have to go on when nobody else is left to do them.
//
//	holder             waits for SIGTERM and reaps: the first process of a pod
//	holder machine     waits for the end of its input and reaps: the first process of a node, whose end is the node's
//	holder sweep DIR…  waits for the end of its input, then removes these cgroups with all below them
//
// The other end of the input is in the process that tests run in: the kernel closes it however that process ends.
package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// A cgroup cannot go before its last process has; a killed node's processes take a moment.
const sweepWithin = 30 * time.Second

func main() {
	// Ignored, the kernel itself reaps orphans.
	signal.Ignore(syscall.SIGCHLD)
	switch {
	case len(os.Args) == 1:
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
		<-end
	case os.Args[1] == "machine":
		untilInputEnds()
	case os.Args[1] == "sweep":
		untilInputEnds()
		sweep(os.Args[2:])
	default:
		fail(fmt.Errorf("holder: %q is neither machine nor sweep", os.Args[1]))
	}
}

func untilInputEnds() {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		fail(err)
	}
}

func sweep(roots []string) {
	deadline := time.Now().Add(sweepWithin)
	for {
		var last error
		for _, root := range roots {
			if err := remove(root); err != nil {
				last = err
			}
		}
		if last == nil {
			return
		}
		if time.Now().After(deadline) {
			fail(last)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Deepest first; the files in a cgroup are not removed, they go with it.
func remove(root string) error {
	var folders []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			folders = append(folders, path)
		}
		return nil
	})
	if os.IsNotExist(err) {
		if _, err := os.Lstat(root); os.IsNotExist(err) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	for _, folder := range slices.Backward(folders) {
		if err := syscall.Rmdir(folder); err != nil && err != syscall.ENOENT {
			return fmt.Errorf("remove the cgroup %s: %w", folder, err)
		}
	}
	return nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
