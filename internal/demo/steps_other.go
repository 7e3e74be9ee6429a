//go:build !linux

package demo

import (
	"context"
	"errors"
	"time"
)

// Steps are the steps that this platform has: none yet.
func Steps() []Step { return nil }

// Talk is the body of a step that this platform does not have.
func Talk(context.Context, time.Duration) error { return errors.New("this platform has no such step") }
