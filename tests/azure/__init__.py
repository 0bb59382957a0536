"""An emulator of Azure: Resource Manager, Entra, Monitor and the scoring front, over TLS on loopback.

No real Azure can be had by the tests. The bodies are after the recorded sessions of azure-sdk-for-python
(sdk/ml/azure-ai-ml/tests/recordings) and the examples of azure-rest-api-specs, never after tritonctl's own parsers.
`python -m tests.azure` starts one to be tried by hand.
"""
