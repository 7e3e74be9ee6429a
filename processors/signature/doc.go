// Package signature has rules that are certain from the first minute: each describes something that programs do not do
// in the ordinary course, so that seeing it once is enough and no baseline is needed.
//
// Rules lists them with their ATT&CK techniques and with what is known to set them off wrongly. A rule is worth its place
// only while it is silent on an ordinary desktop, server and build machine; one that cannot be made so belongs to the
// detectors that learn. Where a site does have such a case, Config.Disable switches the rule off.
//
// A rule speaks once of a process, or once of each object that a process acts upon, however often it is seen again. What
// was said is remembered for the last 4,096 findings of a host. The score carries Certain and no p-value: the ensemble makes an
// alert of it without calibration.
//
// "System directory" below means one that only an administrator can write, see package paths. The rules compare canonical
// names, see package normalize.
package signature
