# The service of a trained model, for the CPU: docker run -p 127.0.0.1:8000:8000 -e AAKIT_TOKEN=... -v MODEL:/model:ro IMAGE
FROM python:3.12-slim AS built
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY aaclip_kit aaclip_kit
COPY plugins plugins
COPY experiments experiments
# Wheels of torch without CUDA are a tenth of the others; PyTorch's page on installing says where they are.
ARG TORCH_INDEX=
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision \
    && /venv/bin/pip install --no-cache-dir '.[serve]'

FROM python:3.12-slim
COPY --from=built /venv /venv
RUN useradd --no-create-home --uid 10001 aakit
USER aakit
ENV PATH=/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=5)"]
# Without AAKIT_TOKEN it says that one is needed, and ends.
ENTRYPOINT ["aakit", "serve"]
CMD ["/model", "--host", "0.0.0.0"]
