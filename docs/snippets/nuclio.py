"""main.py of a Nuclio project; runs as it is."""


def init_context(context):
    context.user_data.greeting = "Hello"


def handler(context, event):
    context.logger.info_with("Handling", kind=event.trigger.kind)
    name = event.body["name"]
    return context.Response(body={"message": f"{context.user_data.greeting}, {name}!"}, status_code=201)
