# t2l on a CPU; docs/install.md says how to build and run it.
FROM python:3.11-slim

# From PyTorch's own index, whose builds for CPUs need no CUDA. Everything else is from PyPI, and takes what is here.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision

COPY pyproject.toml README.md LICENSE /src/
COPY t2l_cli /src/t2l_cli
RUN pip install --no-cache-dir "/src[psd]" && rm -r /src

# The cache may be written by whatever user the container runs as (docker run --user).
RUN useradd --uid 1000 --home-dir /cache --no-create-home t2l && mkdir -m 1777 /cache /work
ENV HOME=/cache USER=t2l T2L_CACHE_DIR=/cache/t2l NUMBA_CACHE_DIR=/cache/numba
VOLUME /cache
USER 1000
WORKDIR /work
ENTRYPOINT ["t2l"]
CMD ["--help"]
