"""Networks: generators, discriminators, encoders and the encoding of their inputs."""
