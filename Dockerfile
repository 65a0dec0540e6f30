# A store that is served over TLS. docs/how-to/run-in-a-container.md says how to use it.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
 && python -m venv --without-pip /opt/p2pannex \
 && /opt/build/bin/pip --python /opt/p2pannex/bin/python install --require-hashes -r requirements/runtime.txt
COPY LICENSE README.md pyproject.toml ./
COPY p2pannex/ p2pannex/
COPY protocol-spec/ protocol-spec/
COPY scripts/ scripts/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/dist . \
 && /opt/build/bin/pip --python /opt/p2pannex/bin/python install --no-deps /opt/dist/*.whl

FROM python:3.13-slim
RUN useradd --system --uid 990 --home-dir /srv/annex annex \
 && install --directory --owner annex --mode 700 /srv/annex
COPY --from=build /opt/p2pannex /opt/p2pannex
ENV PATH=/opt/p2pannex/bin:$PATH
USER annex
VOLUME /srv/annex
EXPOSE 7000
ENTRYPOINT ["p2pannex"]
CMD ["serve", "/srv/annex", "--listen", "tls://0.0.0.0:7000", "--tls-cert", "/run/tls/chain.pem", "--tls-key", "/run/tls/key.pem"]
