//go:build !linux

package audit

import "errors"

var errImmutable = errors.New("this system has no immutable attribute")

func setImmutable(string, bool) error { return errImmutable }

func tryImmutable(string) error { return errImmutable }
