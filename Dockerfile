# The image of the daemon: docker build -t streamcanary . ; docs/kubernetes.md describes it.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
COPY . /source
RUN ["/source/tools/image/build.sh", "/source", "/opt/streamcanary"]
WORKDIR /var/lib/streamcanary

FROM ${PYTHON_IMAGE}
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=https://github.com/streamcanary/streamcanary
ARG BASE_NAME=docker.io/library/python:3.13-slim
ARG BASE_DIGEST=
LABEL org.opencontainers.image.title="streamcanary" \
      org.opencontainers.image.description="Scheduled canary streaming calls against LLM endpoints, with typed faults, OTLP telemetry and alerts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.vendor="The streamcanary developers" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.url="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}/blob/${REVISION}/docs/kubernetes.md" \
      org.opencontainers.image.base.name="${BASE_NAME}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
COPY --from=build /opt/streamcanary /opt/streamcanary
# Empty: the place for a volume with the store, which a named volume of Docker gives to the user below.
COPY --from=build --chown=65532:65532 /var/lib/streamcanary /var/lib/streamcanary
ENV PATH=/opt/streamcanary/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONOPTIMIZE=2 \
    PYTHONPYCACHEPREFIX=/opt/streamcanary/compiled
# Numeric, so that `runAsNonRoot` can check it. The user needs no entry in /etc/passwd, no home and no shell.
USER 65532:65532
WORKDIR /var/lib/streamcanary
STOPSIGNAL SIGTERM
EXPOSE 9465
ENTRYPOINT ["/opt/streamcanary/bin/streamcanary"]
CMD ["run", "-c", "/etc/streamcanary/streamcanary.yaml"]
