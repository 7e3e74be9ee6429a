package ensemble

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/amoskys/amoskys/streams"
)

// Config are the settings. The zero value is not valid, see Defaults.
type Config struct {
	// Alpha is the recalibrated p-value up to which a process is an alert, at most: see AlertsPerDay.
	Alpha float64 `yaml:"alpha" json:"alpha"`
	// AlertsPerDay is how many alerts from rarity are expected on a host on which nothing happens. A host that starts more
	// than AlertsPerDay/Alpha processes a day has a lower cut than Alpha.
	AlertsPerDay float64 `yaml:"alerts_per_day" json:"alerts_per_day"`
	// BudgetPerHour and BudgetPerDay bound the alerts from rarity, per host. Certain rules always pass.
	BudgetPerHour int `yaml:"budget_per_hour" json:"budget_per_hour"`
	BudgetPerDay  int `yaml:"budget_per_day" json:"budget_per_day"`
	// HalfLife and SlowHalfLife are in what time the two risks of a host halve.
	HalfLife     time.Duration `yaml:"half_life" json:"half_life"`
	SlowHalfLife time.Duration `yaml:"slow_half_life" json:"slow_half_life"`
	// Window is how many fused values of a host the calibration keeps: about a twentieth of the processes it stands for.
	Window int `yaml:"window" json:"window"`
}

// Defaults are the settings that hold where none are given.
func Defaults() Config {
	return Config{Alpha: 0.001, AlertsPerDay: 1, BudgetPerHour: 2, BudgetPerDay: 20, HalfLife: time.Hour, SlowHalfLife: 24 * time.Hour, Window: 2000}
}

// StartsNeeded is the number of process starts, after those of rarity's warm-up, of which the last is the first that rarity
// can make an alert of: before that no p-value can be as small as Alpha.
func (c Config) StartsNeeded() int64 { return int64(math.Ceil(1/c.Alpha - 1e-9)) }

// Validate reports everything that is wrong, each as a streams.SettingError.
func (c Config) Validate() error {
	var errs []error
	bad := func(key string, value any, want string) {
		errs = append(errs, &streams.SettingError{Key: "ensemble." + key, Value: fmt.Sprint(value), Want: want})
	}
	if !(c.Alpha > 0 && c.Alpha <= 0.05) {
		bad("alpha", c.Alpha, "a number over 0, up to 0.05")
	}
	if !(c.AlertsPerDay > 0 && c.AlertsPerDay <= 10_000) {
		bad("alerts_per_day", c.AlertsPerDay, "a number over 0, up to 10000")
	}
	if c.BudgetPerHour < 0 || c.BudgetPerHour > 1000 {
		bad("budget_per_hour", c.BudgetPerHour, "a number from 0 to 1000")
	}
	if c.BudgetPerDay < 0 || c.BudgetPerDay > 10_000 {
		bad("budget_per_day", c.BudgetPerDay, "a number from 0 to 10000")
	}
	for _, x := range []struct {
		key string
		d   time.Duration
	}{{"half_life", c.HalfLife}, {"slow_half_life", c.SlowHalfLife}} {
		if x.d < time.Minute || x.d > 30*24*time.Hour {
			bad(x.key, x.d, "a duration of 1m to 720h")
		}
	}
	if c.Window < 64 || c.Window > 60_000 {
		bad("window", c.Window, "a number from 64 to 60000")
	}
	return errors.Join(errs...)
}
