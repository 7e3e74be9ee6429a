package streams

import "errors"

// SettingsUnder puts the keys of joined setting errors under a prefix.
func SettingsUnder(prefix string, err error) error {
	var out []error
	for _, e := range SettingErrors(err) {
		out = append(out, &SettingError{Key: prefix + "." + e.Key, Value: e.Value, Want: e.Want})
	}
	return errors.Join(out...)
}

// SettingErrors lists the setting errors that an error is made of; what is none becomes one without a key.
func SettingErrors(err error) (out []*SettingError) {
	if err == nil {
		return nil
	}
	var se *SettingError
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			out = append(out, SettingErrors(e)...)
		}
		return out
	}
	if errors.As(err, &se) {
		return []*SettingError{se}
	}
	return []*SettingError{{Value: err.Error(), Want: "a usable setting"}}
}
