package proc

import (
	"bytes"
	"strings"
)

// containerID is the id that docker, containerd, CRI-O and podman put into the control group of a container: 64 hex digits
// in the innermost part of a path that has them. The file has a line hierarchy:controllers:path for each hierarchy (version
// 1) and one with hierarchy 0 (version 2); on hybrid systems only some of them name the container, so all are looked at.
//
//	0::/system.slice/docker-ID.scope                                                   docker, systemd
//	4:memory:/docker/ID                                                                docker, cgroupfs
//	0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope                     containerd under kubernetes
//	1:name=systemd:/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:ID
//	0::/kubepods/burstable/pod1/crio-ID                                                CRI-O
//	0::/machine.slice/libpod-ID.scope/container                                        podman
//
// conmon watches a container from outside: it is not in it.
func containerID(b []byte) string {
	for line := range bytes.Lines(b) {
		parts := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		path := parts[2]
		for path != "" {
			i := strings.LastIndexByte(path, '/')
			if id := containerPart(path[i+1:]); id != "" {
				return id
			}
			path = path[:max(i, 0)]
		}
	}
	return ""
}

const containerIDLen = 64

func containerPart(s string) string {
	s = strings.TrimSuffix(s, ".scope")
	if len(s) < containerIDLen || strings.Contains(s, "conmon") {
		return ""
	}
	prefix, id := s[:len(s)-containerIDLen], s[len(s)-containerIDLen:]
	if prefix != "" && prefix[len(prefix)-1] != '-' && prefix[len(prefix)-1] != ':' {
		return ""
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return id
}
