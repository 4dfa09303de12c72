#!/bin/bash
# What the Spark operator's SparkConnect calls as ${SPARK_HOME}/sbin/start-connect-server.sh; pyspark's wheel has no such file.
# It stays in front, and adds what the lake needs of Spark: Delta, S3, the jars of this image.
exec python3 -m asgard_assets.spark.connect.pod "$@"
