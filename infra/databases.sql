-- Run once by the postgres image, when its volume is empty.
create database prefect;
create database mlflow;
