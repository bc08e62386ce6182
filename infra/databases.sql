-- Run once by the postgres image, when its volume is empty. It has made `retune`, for what is served.
create database prefect;
create database mlflow;
