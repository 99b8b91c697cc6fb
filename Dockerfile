# The image of Trailship: one static binary, the certificates TLS is checked with, and a directory it may write to.
#
#   docker build --build-arg COMMIT="$(git rev-parse --short HEAD)" --tag trailship .
#   docker run --rm trailship demo
#   docker run --volume ./trailship.toml:/etc/trailship/trailship.toml:ro --volume state:/var/lib/trailship trailship
#
# Only the stage `build` needs a base image. A binary that is there already takes its place as a build context of the
# same name (tests/image/run does that).

FROM rust:1.95.0-bookworm AS build
# The commit that `trailship --version` tells; the image is built without the repository's history.
ARG COMMIT=""
# The image's own toolchain, as it is: rust-toolchain.toml asks for parts that only developers need.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY . .
# With the target named, build scripts and procedural macros are built as usual and only the program is static.
RUN TRAILSHIP_COMMIT="$COMMIT" RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --bin trailship --target "$(rustc --print host-tuple)" \
 && mkdir -p /image/root/etc/ssl/certs /image/data/trailship \
 && mkdir -m 1777 /image/root/tmp \
 && chmod 0700 /image/data/trailship \
 && cp /etc/ssl/certs/ca-certificates.crt /image/root/etc/ssl/certs/ \
 && cp "target/$(rustc --print host-tuple)/release/trailship" /image/root/

FROM scratch
COPY --from=build /image/root/ /
COPY --from=build --chown=65532:65532 /image/data/ /var/lib/
USER 65532:65532
VOLUME /var/lib/trailship
ENTRYPOINT ["/trailship"]
CMD ["run"]
