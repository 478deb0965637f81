"""The message brokers as the operator uses them: depths each second, queues and policies as a plan says."""
