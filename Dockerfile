# A small image with nothing but the program, the roots of trust and a user without rights.
#
#   docker build -t fhirvest:0.1.0 .
#   docker run --rm -v "$PWD/jobs:/fhirvest/jobs:ro" -v fhirvest-data:/data fhirvest:0.1.0 --lake /data/lake run
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Names of functions stay, for the text of a bug; the lines of the source would be three quarters of the file.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package fhirvest && cp target/release/fhirvest /fhirvest

FROM debian:bookworm-slim
# TLS trusts what the system trusts; times come from the program's own zone data.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /data /fhirvest/jobs && chown 65532:65532 /data
COPY --from=build /fhirvest /usr/local/bin/fhirvest
# Everything that is written is in the volume: lakes, the work on lakes in object stores, tokens of a sign-in.
ENV FHIRVEST__WORK_DIR=/data/work XDG_DATA_HOME=/data HOME=/data
USER 65532:65532
# The configuration is inside the program; jobs are mounted, or a folder `config` beside them.
WORKDIR /fhirvest
VOLUME /data
# SIGTERM drains to a clean commit; give it time: docker stop --time 120.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/fhirvest"]
CMD ["--log-format", "json", "--lake", "/data/lake", "schedule", "--listen", "0.0.0.0:9464"]
