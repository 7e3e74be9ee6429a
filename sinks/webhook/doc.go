// Package webhook is a sink that posts records as JSON to an HTTP endpoint: alerts in the form that is promised to SOC
// teams, one request each, or many in one array.
//
// # A request
//
//	POST /hook HTTP/1.1
//	Content-Type: application/json
//	Idempotency-Key: 5f0c….0                  id.revision: the same for what is sent again
//	X-Amoskys-Id: 5f0c…
//	X-Amoskys-Revision: 0
//	X-Amoskys-Schema: Alert
//	X-Amoskys-Signature: t=1790000000,v1=9f86…
//	Traceparent: 00-4bf9…-00f0…-01
//
// The signature is HMAC-SHA256, in hex, over the time in seconds, a full stop and the body. Receivers check it, and that
// the time is not far from theirs, with Verify or as docs/formats/webhook.md shows. While a secret is changed there is one
// signature for each of the two.
//
// # Delivery
//
// At least once, in the order of each partition: the next record is sent when the one before it was taken. A receiver
// drops what it has by Idempotency-Key. Network errors, 408, 429 and 5xx are tried again, with exponential back-off and
// full jitter, not before Retry-After says; so are 401, 403, 407 and redirects, which are about the settings and not about
// the record. Every other answer but 2xx is permanent: the record goes to the dead letters.
//
// Redirects are followed within the same host only, and only those that keep method and body (307, 308): alerts go where
// they were sent.
package webhook
