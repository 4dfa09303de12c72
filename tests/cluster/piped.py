"""A Spark program of somebody else, who knows Dagster Pipes but not this project."""

import os

import boto3
from dagster_pipes import PipesEnvVarParamsLoader, PipesS3MessageWriter, open_dagster_pipes
from pyspark.sql import SparkSession

client = boto3.client("s3", endpoint_url=os.environ["ASGARD_S3_ENDPOINT"], region_name="us-east-1")
with open_dagster_pipes(
    message_writer=PipesS3MessageWriter(client=client), params_loader=PipesEnvVarParamsLoader()
) as pipes:
    session = SparkSession.builder.getOrCreate()
    count = session.range(pipes.get_extra("rows")).count()
    pipes.log.info(f"counted {count}")
    pipes.report_asset_materialization(metadata={"rows": count})
    session.stop()
