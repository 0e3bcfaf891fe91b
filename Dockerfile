# Image for every node of a Ray cluster, head and workers, with or without a GPU. The torch wheel includes the CUDA
# libraries, so the host needs the NVIDIA driver only.
#   docker build -t refervos .
#   docker run --rm refervos rvos demo --out /tmp/demo
# Build from a digest that you have checked: --build-arg BASE=python:3.11-slim-bookworm@sha256:...
# requirements.lock has the hashes of all packages, in the versions of constraints.txt; `make lock` writes it.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# openssh-client and rsync are for `ray up`, procps for Ray; the probes and submitters of KubeRay call wget.
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssh-client procps rsync wget \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/refervos
COPY requirements.lock pyproject.toml README.md LICENSE hatch_build.py refervos.py cli.py ./
COPY schemas schemas
COPY model model
COPY pipeline pipeline
COPY jobs jobs
RUN pip install --no-cache-dir --require-hashes -r requirements.lock \
 && pip install --no-cache-dir --no-deps --no-build-isolation . \
 && useradd --create-home --uid 1000 ray

USER ray
WORKDIR /home/ray
CMD ["rvos", "--help"]
