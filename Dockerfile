# The image of Amoskys: one static program, no shell, no root. Two ways to the same image:
#
#   docker build -t amoskys/amoskys .                        compiles in golang:1.26
#   make image                                               takes bin/amoskys, where golang cannot be pulled
#
# Stages stand in the order in which the builder may stop: the classic builder runs all stages above its target.

ARG GO_IMAGE=golang:1.26-bookworm
ARG DEMO_IMAGE=debian:12-slim

# prebuilt: from bin/amoskys and the certificates of this machine.
FROM scratch AS prebuilt
COPY --chown=65532:65532 deploy/image/ /
COPY bin/ca-certificates.crt /etc/ssl/certs/
COPY bin/amoskys /amoskys
ENV AMOSKYS_DATA_DIR=/data HOME=/data PATH=/
VOLUME ["/data"]
USER 65532:65532
EXPOSE 9464
ENTRYPOINT ["/amoskys"]
CMD ["up"]

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -o /out/amoskys \
	-ldflags "-s -w -X github.com/amoskys/amoskys/internal/cli.Version=${VERSION} -X github.com/amoskys/amoskys/internal/cli.Commit=${COMMIT}" \
	./cmd/amoskys

# demo: with a shell and a sleep, of which the demonstration runs copies.
FROM ${DEMO_IMAGE} AS demo
COPY --from=build /out/amoskys /amoskys
ENTRYPOINT ["/amoskys"]
CMD ["demo", "--yes"]

FROM scratch
COPY --chown=65532:65532 deploy/image/ /
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/amoskys /amoskys
ENV AMOSKYS_DATA_DIR=/data HOME=/data PATH=/
VOLUME ["/data"]
USER 65532:65532
EXPOSE 9464
ENTRYPOINT ["/amoskys"]
CMD ["up"]
