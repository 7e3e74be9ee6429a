package testbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// kafkaVersion is the release that tests run against, as in deploy/kafka/pom.xml.
const kafkaVersion = "4.3.0"

// javaCommand finds a Java that can run Kafka 4 brokers: 17 or later.
func javaCommand(ctx context.Context) (string, error) {
	path := filepath.Join(os.Getenv("JAVA_HOME"), "bin", "java")
	if os.Getenv("JAVA_HOME") == "" {
		var err error
		if path, err = exec.LookPath("java"); err != nil {
			return "", fmt.Errorf("%w: no java (Debian: apt-get install default-jre-headless)", ErrUnavailable)
		}
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s -version: %w", ErrUnavailable, path, err)
	}
	if v := javaVersion(string(out)); v < 17 {
		return "", fmt.Errorf("%w: %s is version %d, Kafka 4 needs 17", ErrUnavailable, path, v)
	}
	return path, nil
}

var versionLine = regexp.MustCompile(`version "(\d+)`)

func javaVersion(out string) int {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return 0
	}
	v, _ := strconv.Atoi(m[1]) // digits by the expression
	return v
}

// kafkaJars returns the folder with Kafka's jars, fetching them by Maven the first time: 44 MB, under a minute.
// AMOSKYS_KAFKA_LIBS names a folder to use instead.
func kafkaJars(ctx context.Context) (string, error) {
	if dir := os.Getenv("AMOSKYS_KAFKA_LIBS"); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir() // honours XDG_CACHE_HOME
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "amoskys", "kafka-"+kafkaVersion)
	libs := filepath.Join(home, "libs")
	if _, err := os.Stat(libs); err == nil {
		return libs, nil // whole, because it is renamed into place
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "", fmt.Errorf("%w: Kafka's jars are not in %s and there is no mvn to fetch them (Debian: apt-get install maven)", ErrUnavailable, libs)
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(home, "libs-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	out, err := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", filepath.Join(root, "deploy", "kafka", "pom.xml"),
		"dependency:copy-dependencies", "-DoutputDirectory="+tmp).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: fetch kafka's jars: %w\n%s", ErrUnavailable, err, out)
	}
	if err := os.Rename(tmp, libs); err != nil {
		if _, there := os.Stat(libs); there == nil {
			return libs, nil // the tests of another package were faster
		}
		return "", err
	}
	return libs, os.Chmod(libs, 0o755)
}

// moduleRoot finds the folder of go.mod above the working directory, which is a package's folder in a test.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", errors.New("find module root: no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// buildImage makes an image of Kafka from a Java runtime and its jars.
func buildImage(ctx context.Context, tag string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(root, "deploy", "kafka", "build-image.sh"), tag).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
