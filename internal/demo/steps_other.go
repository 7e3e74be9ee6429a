//go:build !linux

package demo

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

// Steps are the steps that this platform has: none yet.
func Steps() []Step { return nil }

func inGroup(*exec.Cmd) {}

// Talk is the body of a step that this platform does not have.
func Talk(context.Context, time.Duration) error { return errors.New("this platform has no such step") }
