package paths

import "strings"

const (
	maxCache  = 1 << 15 // entries
	maxCached = 512     // bytes of a path that is kept
)

// A Cache remembers the templates of paths: the same few come again and again. It is a cache of a pure function, so when it
// is emptied does not matter. The zero value is ready.
type Cache struct{ m map[string]string }

// Template is the package's Template. Neither path nor what it returns keeps the buffer alive that the path was cut from.
func (c *Cache) Template(path string) string {
	if path == "" {
		return ""
	}
	if t, ok := c.m[path]; ok {
		return t
	}
	path = strings.Clone(path)
	t := Template(path)
	if len(path) > maxCached {
		return t
	}
	if c.m == nil || len(c.m) >= maxCache {
		c.m = map[string]string{}
	}
	c.m[path] = t
	return t
}
