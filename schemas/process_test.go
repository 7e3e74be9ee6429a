package schemas

import (
	"reflect"
	"testing"
	"unsafe"
)

// TestDetach checks that every string field is copied, whatever fields there are, and none changed.
func TestDetach(t *testing.T) {
	var p Process
	v := reflect.ValueOf(&p).Elem()
	shared := "a buffer that holds the strings of many records, one after the other"
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString(shared[i : i+5+i])
		}
	}
	before := p
	p.Detach()
	if !reflect.DeepEqual(p, before) {
		t.Errorf("changed to %+v, was %+v", p, before)
	}
	begin := uintptr(unsafe.Pointer(unsafe.StringData(shared)))
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			if at := uintptr(unsafe.Pointer(unsafe.StringData(f.String()))); at >= begin && at < begin+uintptr(len(shared)) {
				t.Errorf("field %s still points into the buffer", v.Type().Field(i).Name)
			}
		}
	}
	if n := testing.AllocsPerRun(100, p.Detach); n > 1 {
		t.Errorf("%.0f allocations, want 1", n)
	}
	(&Process{}).Detach()
}
