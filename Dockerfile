# One build, three images: `docker build --target api|refresher|upstream`, for amd64 and arm64.
# No setting is in any of them: they come from the environment, and from a config/config.yaml that is
# mounted in place of the empty one.

ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# --- manifests: what says which dependencies there are, with no code in it ---
FROM ${BUILD_IMAGE} AS manifests
WORKDIR /source
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock -delete \
 && for manifest in */Cargo.toml */*/Cargo.toml */*/*/Cargo.toml; do \
      if test -f "$manifest"; then \
        mkdir -p "${manifest%Cargo.toml}src"; \
        printf '' > "${manifest%Cargo.toml}src/lib.rs"; \
        printf 'fn main() {}' > "${manifest%Cargo.toml}src/main.rs"; \
      fi; \
    done \
 && find . -type d -empty -delete

# --- build: everything that is compiled ---
FROM ${BUILD_IMAGE} AS build
RUN rustup target add wasm32-wasip2
WORKDIR /source
# The dependencies, which take most of the time: again only where one of them has changed.
COPY --from=manifests /source .
RUN cargo build --profile dist --locked --package refresher --package host --package demo-upstream \
 && cargo build --locked --package api-component --target wasm32-wasip2 --profile component \
 && find . -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
COPY . .
# Cargo goes by time: the sources have to be newer than what was built without them.
RUN find . -name target -prune -o -name '*.rs' -exec touch {} + \
 && cargo build --profile dist --locked --package refresher --package host --package demo-upstream \
 && cargo build --locked --package api-component --target wasm32-wasip2 --profile component \
 && mkdir -p /app/target/wasm32-wasip2/component /app/config /owned \
 && mkdir -m 700 /owned/history \
 && printf '' > /app/config/config.yaml \
 && cp target/dist/refresher target/dist/host target/dist/demo-upstream /app/ \
 && cp target/wasm32-wasip2/component/api_component.wasm /app/target/wasm32-wasip2/component/

# --- base: what all images have in common ---
FROM ${BASE_IMAGE} AS base
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="employee-incidents" \
      org.opencontainers.image.description="Security incidents by employee and priority, served from Redis" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Whom to trust: all that is needed of the package ca-certificates.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
WORKDIR /app
# Nobody: owns no file here.
USER 65534:65534

# --- upstream: the demo API ---
FROM base AS upstream
COPY --from=build /app/demo-upstream /usr/local/bin/
EXPOSE 9100
ENTRYPOINT ["demo-upstream"]
CMD ["--listen", "0.0.0.0:9100"]

# --- refresher: fills Redis ---
FROM base AS refresher
COPY --from=build /app/refresher /usr/local/bin/
COPY --from=build /app/config config
# A volume that is mounted on the history takes over whose it is, and that nobody else may look into it.
COPY --from=build --chown=65534:65534 /owned .
ENTRYPOINT ["refresher"]
CMD ["run"]

# --- api: the host with the component; ends when the service is shut down ---
FROM refresher AS api
COPY --from=build /app/host /usr/local/bin/
COPY --from=build /app/target target
COPY spin.toml .
EXPOSE 9000
CMD ["serve", "--server", "host --from spin.toml --listen 0.0.0.0:9000 --idle-instance-timeout 60s"]
