# The base image is named by its digest, which has no default: `docker buildx imagetools inspect python:3.11-slim` prints it.
# Wheels are named by their SHA-256: requirements.lock is part of the sources, torch.lock is made first, for the image's
# Python and processor, by `make torch` (docs/operation.md).
# CPU image:   docker build -t tuner --build-arg PYTHON_IMAGE=python@sha256:... .
# CUDA image:  the same with -t tuner:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130, and that to `make torch`
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml requirements.lock torch.lock README.md LICENSE ./
COPY studies studies
COPY search_spaces search_spaces
COPY tuner tuner
# What tuner itself is built with (hatchling) is in the lock too. The check names what a lock has forgotten.
RUN python -m venv /opt/tuner \
    && /opt/tuner/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
        --extra-index-url "$TORCH_INDEX" --requirement requirements.lock --requirement torch.lock \
    && /opt/tuner/bin/pip install --no-cache-dir --no-index --no-deps --no-build-isolation . \
    && /opt/tuner/bin/pip check \
    && /opt/tuner/bin/tuner --version

FROM ${PYTHON_IMAGE}
# Workers build their training kernels for the processor they run on: half the time of a step.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
# Made here so that volumes mounted on them belong to the user.
RUN useradd --create-home --uid 1000 tuner \
    && mkdir -p /study/runs /data /home/tuner/.cache \
    && chown -R tuner:tuner /study /data /home/tuner
COPY --from=build /opt/tuner /opt/tuner
ENV PATH=/opt/tuner/bin:$PATH \
    OMP_NUM_THREADS=1
USER 1000:1000
WORKDIR /study
ENTRYPOINT ["tuner"]
CMD ["--help"]
