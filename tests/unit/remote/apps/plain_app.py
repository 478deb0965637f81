from taskyard import App

app = App("plain_app")
