# One image for API, worker and migrations.
FROM python:3.13.9-slim-trixie AS build
WORKDIR /build
COPY requirements.txt requirements-nodeps.txt ./
RUN python -m venv /opt/chatsphere \
    && /opt/chatsphere/bin/pip install --no-cache-dir --no-deps --require-hashes \
        -r requirements.txt -r requirements-nodeps.txt

FROM python:3.13.9-slim-trixie
ENV PATH=/opt/chatsphere/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN apt-get update && apt-get install -y --no-install-recommends tesseract-ocr && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home chatsphere \
    && install --directory --owner=chatsphere --mode=0700 /data/blobs
COPY --from=build /opt/chatsphere /opt/chatsphere
WORKDIR /app
COPY domain domain
COPY workflows workflows
COPY activities activities
COPY adapters adapters
COPY api api
COPY migrations migrations
COPY worker.py ./
USER 10001
VOLUME /data/blobs
EXPOSE 8000
CMD ["python", "-m", "uvicorn", "api.main:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000"]
