# The base image is named by its digest, which has no default: `docker buildx imagetools inspect python:3.11-slim` prints it.
# CPU image:   docker build -t tuner --build-arg PYTHON_IMAGE=python@sha256:... .
# CUDA image:  the same with -t tuner:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY studies studies
COPY search_spaces search_spaces
COPY tuner tuner
# The variable, unlike the option, also pins what the wheel is built with.
ENV PIP_CONSTRAINT=/src/constraints.txt
RUN python -m venv /opt/tuner \
    && /opt/tuner/bin/pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" '.[postgres]' \
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
