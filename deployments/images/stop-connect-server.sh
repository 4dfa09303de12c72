#!/bin/bash
# Called before the operator's SparkConnect pod ends. The server stays in front: the pod's own end stops it.
exit 0
